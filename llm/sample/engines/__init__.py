"""Where completions come from: vLLM or transformers, in this process or in one beside it."""
