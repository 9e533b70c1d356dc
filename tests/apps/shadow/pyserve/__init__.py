WHO = "own pyserve"
