"""Self-contained HTML pages: the stylesheet and the template settings that the report and the page of cue samples share."""
