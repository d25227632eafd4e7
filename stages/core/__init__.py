"""What all other packages use: params, paths, files that appear complete or not at all, errors, caches and hardware.

Knows nothing of text, models or metrics, and imports no other package. Errors that the user can correct are `UserError`,
which `report_errors` turns into one message.
"""
