"""Creates, loads, saves and transfers models and tokenizers in Hugging Face format."""
