"""Opens images: headers, sections, payloads, ELF notes, symbols."""
