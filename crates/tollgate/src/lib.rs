//! Composable tower layers for an OpenAI-compatible LLM gateway
