// The benchmark's relay on net/http: case (e).
package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	backend := os.Getenv("BACKEND")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	http.HandleFunc("/relay", func(writer http.ResponseWriter, request *http.Request) {
		response, err := client.Get(backend + "/relay")
		if err != nil {
			http.Error(writer, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		writer.Header().Set("Content-Type", "text/plain")
		io.Copy(writer, response.Body)
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
