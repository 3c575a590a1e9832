"""What the fault tests are worth: each sync, link and rule is taken out of the code, and some test must fail."""
