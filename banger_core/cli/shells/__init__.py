"""Completion scripts, one for each shell: they hand the words to banger, whose answer is one line
for each value, with a tab and a summary after it. No line at all means files.
"""
