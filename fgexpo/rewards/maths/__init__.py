"""Is this mathematical answer right?"""
