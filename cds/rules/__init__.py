"""The rule language, its evaluator and the engine that evaluates it a second time."""
