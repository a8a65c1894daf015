//! The canonical chat: what every dialect is decoded to and encoded from.
