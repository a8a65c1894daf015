//! The whole gateway over real sockets against mock providers, a module per behaviour.
