WHO = "own websocket"
