//! A tower layer that allows, resolves and lists models
