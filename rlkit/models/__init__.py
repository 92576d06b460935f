"""Models in Hugging Face format: loaded, made from nothing, saved, sent on. Every stage and the engines share it."""
