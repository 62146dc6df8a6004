"""What is lost in silence: the same trap for sessionkit and the peers, what each said, and what the database held."""
