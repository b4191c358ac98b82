"""What a WebSocket client sends, byte by byte."""

HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TEXT_FRAME = b"\x81\x81\0\0\0\0a"
PING_FRAME = b"\x89\xfd\0\0\0\0" + 125 * b"a"
CLOSE_FRAME = b"\x88\x80\0\0\0\0"
