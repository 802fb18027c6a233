"""Reports: scored decodes collected, compared, and written as tables, pictures and transcripts."""
