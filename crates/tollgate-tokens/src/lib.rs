//! Bounds and estimates of the prompt tokens of a chat completion
