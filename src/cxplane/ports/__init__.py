"""What we need from outside, as protocols. `wiring` alone chooses who fits."""
