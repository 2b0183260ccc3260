//! A tower layer that reads an OpenAI chat completion request once and checks it
