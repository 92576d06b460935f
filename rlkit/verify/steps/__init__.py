"""Steps of a thought: the arithmetic that a text states, found and checked exactly. For the reasoning part."""
