//! A tower layer that budgets requests and tokens for each workspace and model
