"""Release -> ModelVersion -> Evaluation -> Promotion."""
