"""What is built of a recipe: data, model, target, objective."""
