"""What the bot does with what people say: what an event is, who may what, and the answers."""
