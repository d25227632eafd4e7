"""The parts that the stages are made of; imports only go downward (see CONTRIBUTING.md)."""
