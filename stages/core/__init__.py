"""What all other packages use: params, paths, files that appear complete or not at all, errors, caches and hardware.

Takes and returns plain values, and imports no other package. Errors that the user can correct are `UserError`, which
`report_errors` prints as one message.
"""
