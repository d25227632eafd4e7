"""What people read of a finished run: tables, figures, the report as HTML and Markdown, and the model card.

It takes predictions, metrics and facts about data and training, and writes files. Nothing that is computed depends on
its files.
"""
