"""How fast it is: layers against torch.nn's, and a whole run against a hand-written loop."""
