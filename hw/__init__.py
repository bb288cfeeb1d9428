"""The HPU in Amaranth: configurations, instruction and register tables, hardware blocks."""
