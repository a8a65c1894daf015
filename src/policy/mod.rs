//! Every decision of the gateway as a plain function: state and time in, answer out.
