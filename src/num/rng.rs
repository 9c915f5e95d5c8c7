//! Addressed random numbers: a draw is a function of its address, never of what was drawn before.
