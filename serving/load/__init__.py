"""Load for a server: offered at a pace that is known, answers and failures counted by kind."""
