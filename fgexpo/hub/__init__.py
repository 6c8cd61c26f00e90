"""What the Hugging Face hub gets of a model: its card, and the push."""
