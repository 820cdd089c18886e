// The benchmark's relay on net/http.
package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	backend := os.Getenv("BACKEND")
	forward := os.Getenv("FORWARD")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	http.HandleFunc("/relay", func(writer http.ResponseWriter, request *http.Request) {
		call, err := http.NewRequest("GET", backend+"/relay", nil)
		if err != nil {
			panic(err)
		}
		if value := request.Header.Get(forward); forward != "" && value != "" {
			call.Header.Set(forward, value)
		}
		response, err := client.Do(call)
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
