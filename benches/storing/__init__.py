"""The parts of benches/store."""
