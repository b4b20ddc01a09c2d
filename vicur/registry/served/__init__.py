"""Answer the questions of strangers with a student: reading of rows, images, videos and conversations within limits, and the HTTP
application.

Everything here treats its input as untrusted. A row that cannot be answered fails alone, with the reason.
"""

from vicur.registry.served.files import Files
from vicur.registry.served.student import Answer, ServedStudent

__all__ = ["Answer", "Files", "ServedStudent"]
