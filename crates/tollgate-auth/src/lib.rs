//! A tower layer that turns API keys into workspaces
