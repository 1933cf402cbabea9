"""XML as programs that label videos write it, read in one pass."""

from __future__ import annotations

import re
from typing import NoReturn
from xml.parsers import expat

from clipshift.temporal.annotations.model import Place

NOT_IN_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no document of XML can hold, however it is written."""


class XmlReader:
    """Goes through a document; what its elements mean is told by classes that are made from this one.

    Args:
        place: The file, for errors.
        program: What writes such files; named in what to do about a file that is not accepted.
    """

    def __init__(self, place: Place, program: str) -> None:
        self._place, self._program = place, program
        self._parser = expat.ParserCreate("utf-8")  # as it was decoded, whatever the declaration says
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self.begins
        self._parser.EndElementHandler = self.ends
        self._parser.CharacterDataHandler = self.text
        self._parser.StartDoctypeDeclHandler = self._declares

    def read(self, document: str) -> None:
        """Go through a document.

        Raises:
            DataError: It is not XML, declares a document type, or an element is not right.
        """
        try:
            self._parser.Parse(document.encode(), True)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise self._place.at(error.lineno).error("The file is not XML.", what) from error

    def here(self) -> Place:
        """The line that is being read."""
        return self._place.at(self._parser.CurrentLineNumber)

    def begins(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def text(self, text: str) -> None:
        """Text of the element that began last."""

    def ends(self, name: str) -> None:
        """An element ends."""

    def _declares(self, *_: object) -> NoReturn:
        # Entities, which a document type declares, can stand for other files, and for more than memory holds.
        raise self.here().error(
            "The file has a document type, which is not accepted.", remedy=f"write it with {self._program} again"
        )
