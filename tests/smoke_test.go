package tests

import "testing"

func TestSmoke(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := Page{Title: "x", APIToken: "canary"}
	must(t, b.as(b.acme).Debug().Create(&p).Error)
	must(t, b.as(b.acme).Debug().Model(&p).Update("title", "y").Error)
	must(t, b.as(b.acme).Debug().Model(&Page{}).Where("views < ?", 3).Updates(map[string]any{"views": 5}).Error)
	must(t, b.as(b.acme).Debug().Save(&p).Error)
	must(t, b.as(b.acme).Debug().Delete(&p).Error)
	must(t, b.as(b.acme).Debug().Unscoped().Model(&p).Update("deleted_at", nil).Error)
	must(t, b.as(b.acme).Debug().Unscoped().Delete(&p).Error)
	var rows []map[string]any
	must(t, b.Owner.Raw("select tenant_id, actor_id, action, resource_type, resource_id, ip_address, metadata::text m from audit_logs order by created_at").Scan(&rows).Error)
	for _, r := range rows {
		t.Log(r)
	}
}
