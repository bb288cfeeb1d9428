"""The HPU in Amaranth: configurations, instruction and register tables, and every hardware block."""
