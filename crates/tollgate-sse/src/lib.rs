//! A tower layer that re-frames server-sent events, and the framer it stands on
