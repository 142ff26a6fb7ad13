module openeni.io/lab/cni-judges-1.1

go 1.26.6

godebug default=go1.26

tool github.com/containernetworking/cni/cnitool

require github.com/containernetworking/cni v1.1.2 // indirect
