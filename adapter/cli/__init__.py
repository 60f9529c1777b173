"""The command line, its demo, and the homeserver that the demo runs."""
