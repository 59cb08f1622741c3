"""What we need from outside, as protocols. `wiring.py` alone chooses who fits."""
