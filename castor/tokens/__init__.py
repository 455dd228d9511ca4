"""The seam between meaning and numbers: vocabulary, dialogue format and their exact inverse."""
