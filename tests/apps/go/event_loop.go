// A relay with one goroutine that serves several connections at once: it answers when two requests are there, as
// event_loop.py does. GET /relay?id=ID&n=1 calls $BACKEND/out/ID/1.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

type waiting struct {
	connection net.Conn
	id         string
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	var all []waiting
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		request, err := http.ReadRequest(bufio.NewReader(connection))
		if err != nil { // only a look whether somebody listens
			connection.Close()
			continue
		}
		all = append(all, waiting{connection, request.URL.Query().Get("id")})
		if len(all) < 2 {
			continue
		}
		for _, one := range all {
			length := call("/out/" + one.id + "/1")
			text := fmt.Sprintf("%d\n", length)
			fmt.Fprintf(one.connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
			one.connection.Close()
		}
		all = nil
	}
}

func call(path string) int64 {
	response, err := http.Get(os.Getenv("BACKEND") + path)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	length, _ := io.Copy(io.Discard, response.Body)
	return length
}
