"""Simulators of the HPU: functional (bit-exact), Verilated RTL, and their traces."""
