// libcni-judge executes a CNI plugin by libcni, as container runtimes do, and says what libcni made
// of its answer.
//
// It reads one call as JSON and writes one verdict: the result in every version that libcni can
// convert it to, or the error as libcni has decoded it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// call is what a runtime asks for. ConfFolder has the network's configuration list.
type call struct {
	Verb         string
	ConfFolder   string
	Network      string
	Plugins      []string // folders of executables
	Cache        string
	ContainerID  string
	NetNS        string
	IfName       string
	Args         [][2]string
	Capabilities map[string]any
	Valid        []types.GCAttachment
}

type verdict struct {
	Version   string                     `json:"version,omitempty"`   // of the list, as negotiated
	Result    map[string]json.RawMessage `json:"result,omitempty"`    // by version
	Supported []string                   `json:"supported,omitempty"` // by the plugin
	Error     *types.Error               `json:"error,omitempty"`
	Other     string                     `json:"other,omitempty"` // an error that is none of the plugin's
}

var versions = []string{"0.4.0", "1.0.0", "1.1.0"}

func main() {
	var asked call
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	found, err := judge(&asked)
	if err != nil && !errors.As(err, &found.Error) {
		found.Other = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		os.Exit(2)
	}
}

func judge(asked *call) (found verdict, err error) {
	list, err := libcni.LoadConfList(asked.ConfFolder, asked.Network)
	if err != nil {
		return found, err
	}
	found.Version = list.CNIVersion
	cni := libcni.NewCNIConfigWithCacheDir(asked.Plugins, asked.Cache, nil)
	runtime := &libcni.RuntimeConf{
		ContainerID: asked.ContainerID, NetNS: asked.NetNS, IfName: asked.IfName,
		Args: asked.Args, CapabilityArgs: asked.Capabilities,
	}
	ctx := context.Background()
	switch asked.Verb {
	case "ADD":
		result, err := cni.AddNetworkList(ctx, list, runtime)
		if err != nil {
			return found, err
		}
		found.Result, err = convert(result)
		return found, err
	case "CHECK":
		return found, cni.CheckNetworkList(ctx, list, runtime)
	case "DEL":
		return found, cni.DelNetworkList(ctx, list, runtime)
	case "GC":
		return found, cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: asked.Valid})
	case "STATUS":
		return found, cni.GetStatusNetworkList(ctx, list)
	case "VERSION":
		if _, err := cni.ValidateNetworkList(ctx, list); err != nil {
			return found, err
		}
		info, err := cni.GetVersionInfo(ctx, list.Plugins[0].Network.Type)
		if err == nil {
			found.Supported = info.SupportedVersions()
		}
		return found, err
	}
	return found, fmt.Errorf("no such verb: %q", asked.Verb)
}

func convert(result types.Result) (map[string]json.RawMessage, error) {
	found := map[string]json.RawMessage{}
	for _, version := range versions {
		converted, err := result.GetAsVersion(version)
		if err != nil {
			return nil, fmt.Errorf("to version %s: %w", version, err)
		}
		if found[version], err = json.Marshal(converted); err != nil {
			return nil, err
		}
	}
	return found, nil
}
