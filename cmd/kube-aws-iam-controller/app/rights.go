package app

// The rights of the controller in the cluster; make generate writes them to config/rbac/role.yaml.
// "get" on Secrets is for one of another writer that has a name which is asked for: its labels show
// whose it is. The Lease has a known name, but creating one cannot be limited to a name.
// config/rbac/kustomization.yaml shows how an instance for some namespaces gets a name of its own.
//
// +kubebuilder:rbac:groups="",resources=pods;serviceaccounts,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=zalando.org,resources=awsiamroles,verbs=get;list;watch
// +kubebuilder:rbac:groups=zalando.org,resources=awsiamroles/status,verbs=update
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings;clusterroles;clusterrolebindings,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-system,resources=leases,resourceNames=kube-aws-iam-controller,verbs=get;update
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups="",namespace=kube-system,resources=events,verbs=create;patch
